"""A device for the real `adb`: speaks the device's side of its protocol on TCP, its file system is a folder here.

It takes no part of Android with it: commands run in this machine's `sh`, with paths of the device mapped below the
folder and the few Android programs that are asked for as scripts. Programs for ARM64 run through qemu.

Source of the protocol: protocol.txt and SYNC.TXT of AOSP's packages/modules/adb.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

COMMANDS = {name: int.from_bytes(name.encode(), "little") for name in ("CNXN", "AUTH", "OPEN", "OKAY", "CLSE", "WRTE")}
VERSION = 0x01000001  # from here on the checksum of a message is not looked at
LARGEST = 256 * 1024
AUTH_TOKEN = 1
STDOUT, STDERR, EXIT = 1, 2, 3  # packets of shell v2
MAPPED = re.compile(r"(?<![\w/.])/(data|sys|proc/cpuinfo)\b")
LOADER = re.compile(r"(?:\S*/)?ld-linux-aarch64\.so\.1(?= )")
PROPERTIES = {
    "ro.product.manufacturer": "Loop",
    "ro.product.model": "Back 1",
    "ro.soc.model": "Host",
    "ro.build.version.release": "15",
    "ro.product.cpu.abi": "arm64-v8a",
}
SPEEDS = (1_700_000, 1_700_000, 2_400_000, 2_400_000, 2_900_000)  # kHz of five cores: little, little, big, big, prime


class Loopback:
    """The device. `adb connect HOST:PORT` reaches it while it is entered."""

    def __init__(self, root: Path, shell_v2: bool = True, authorised: bool = True, emulator: str = "") -> None:
        self.root, self.shell_v2, self.authorised, self.emulator = root, shell_v2, authorised, emulator
        self.room = 1 << 30  # bytes that still fit
        self.told_room: int | None = None  # what `df` says instead
        self.commands: list[str] = []  # that the shell was given
        self.outputs: list[str] = []  # of them
        self.fault: Callable[[str], str] = lambda service: ""  # "vanish", "hang" or nothing, for a service
        self.connections: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self.silent = False  # accepts connections and says nothing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._furnish()

    def __enter__(self) -> Loopback:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.vanish()

    def vanish(self) -> None:
        """Cuts every connection, ends what runs, and answers no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._listener.close()
        self.cut()
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def cut(self) -> None:
        """Cuts every connection; a new one is answered."""
        for connection in self.connections:
            connection.close()

    def path(self, name: str) -> Path:
        """Gives where a path of the device lies here."""
        return self.root / os.path.normpath("/" + name).lstrip("/")

    def set_celsius(self, degrees: float) -> None:
        self.path("/sys/class/thermal/thermal_zone0/temp").write_text(f"{degrees * 1000:.0f}\n")

    def set_kilohertz(self, kilohertz: int) -> None:
        """Sets the speed at which all cores run now."""
        for number in range(len(SPEEDS)):
            self.path(f"/sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq").write_text(f"{kilohertz}\n")

    def left_behind(self) -> list[str]:
        return sorted(file.name for file in self.path("/data/local/tmp").iterdir())

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Runs a line of the device's shell."""
        self.commands.append(command)
        line = MAPPED.sub(lambda found: str(self.root) + found[0], command)
        if self.emulator:
            line = LOADER.sub(lambda found: f"{self.emulator} {found[0]}", line)
        room = self.room if self.told_room is None else self.told_room
        environment = {**os.environ, "PATH": f"{self.root}/system/bin:{os.environ['PATH']}", "ROOM": str(room // 1024)}
        process = subprocess.Popen(
            ["sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, link)
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def _furnish(self) -> None:
        files = {f"/sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": f"{s}\n" for n, s in enumerate(SPEEDS)}
        files |= {f"/sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": f"{s}\n" for n, s in enumerate(SPEEDS)}
        files |= {
            "/sys/class/thermal/thermal_zone0/type": "cpu-0-0\n",
            "/sys/class/thermal/thermal_zone0/temp": "31000\n",
        }
        files |= {
            "/sys/class/thermal/thermal_zone1/type": "battery\n",
            "/sys/class/thermal/thermal_zone1/temp": "29000\n",
        }
        files["/proc/cpuinfo"] = "processor\t: 0\nFeatures\t: fp asimd aes crc32 atomics fphp asimdhp asimddp\n"
        names = "".join(f'{name}) echo "{value}";;\n' for name, value in PROPERTIES.items())
        programs = {
            "getprop": f'case "$1" in\n{names}esac',
            "df": 'echo "Filesystem 1024-blocks Used Available Capacity Mounted"\necho "/dev/loop 99 9 $ROOM 9% /data"',
            "taskset": 'shift\nexec "$@"',  # this machine has not the cores of a phone
            "dumpsys": "exit 1",
        }
        for name, text in files.items():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(text)
        for name, text in programs.items():
            program = self.path(f"/system/bin/{name}")
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        self.path("/data/local/tmp").mkdir(parents=True)


class Connection:
    """One connection of an adb server."""

    def __init__(self, device: Loopback, link: socket.socket) -> None:
        self.device, self.link = device, link
        self.streams: dict[int, Stream] = {}
        self._sending = threading.Lock()

    def serve(self) -> None:
        try:
            while True:
                command, first, second, length, _, _ = struct.unpack("<6I", self._read(24))
                self._take(command, first, second, self._read(length))
        except OSError:
            self.close()

    def send(self, command: str, first: int, second: int, payload: bytes = b"") -> None:
        number = COMMANDS[command]
        head = struct.pack("<6I", number, first, second, len(payload), sum(payload) & 0xFFFFFFFF, number ^ 0xFFFFFFFF)
        with self._sending:
            self.link.sendall(head + payload)

    def close(self) -> None:
        for stream in list(self.streams.values()):
            stream.end()
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()

    def _take(self, command: int, first: int, second: int, payload: bytes) -> None:
        if command in (COMMANDS["CNXN"], COMMANDS["AUTH"]) and not self.device.silent:
            if self.device.authorised:
                features = "shell_v2,cmd,stat_v2" if self.device.shell_v2 else "cmd"
                banner = f"device::ro.product.model={PROPERTIES['ro.product.model']};features={features}"
                self.send("CNXN", VERSION, LARGEST, banner.encode())
            elif command == COMMANDS["CNXN"] or first == 2:  # a signature, which is as unknown as the next one
                self.send("AUTH", AUTH_TOKEN, 0, bytes(20))
        elif command == COMMANDS["OPEN"]:
            stream = Stream(self, len(self.streams) + 1, first, payload.rstrip(b"\0").decode())
            self.streams[stream.number] = stream
            threading.Thread(target=stream.serve, daemon=True).start()
        elif stream := self.streams.get(second):
            if command == COMMANDS["WRTE"]:
                stream.feed(payload)
                self.send("OKAY", second, first)
            elif command == COMMANDS["OKAY"]:
                stream.acknowledged.release()
            elif command == COMMANDS["CLSE"]:
                stream.end()

    def _read(self, length: int) -> bytes:
        taken = b""
        while len(taken) < length:
            part = self.link.recv(length - len(taken))
            if not part:
                raise ConnectionError
            taken += part
        return taken


class Stream:
    """One service that the server asked for: a shell, or sync's files."""

    def __init__(self, connection: Connection, number: int, other: int, service: str) -> None:
        self.connection, self.device = connection, connection.device
        self.number, self.other, self.service = number, other, service
        self.acknowledged = threading.Semaphore(0)
        self._came, self._news, self._ended = bytearray(), threading.Condition(), threading.Event()

    def serve(self) -> None:
        try:
            fault = self.device.fault(self.service)
            if fault == "vanish":
                return self.device.vanish()
            self.connection.send("OKAY", self.number, self.other)
            if fault == "hang":
                return None
            if self.service.startswith("sync:"):
                self._sync()
            elif self.service.startswith("shell"):
                self._shell()
            self.connection.send("CLSE", self.number, self.other)
        except OSError:
            pass

    def feed(self, payload: bytes) -> None:
        with self._news:
            self._came += payload
            self._news.notify()

    def end(self) -> None:
        self._ended.set()
        self.acknowledged.release()
        with self._news:
            self._news.notify()

    def _read(self, length: int) -> bytes:
        with self._news:
            while len(self._came) < length:
                if self._ended.is_set():
                    raise ConnectionError
                self._news.wait()
            taken = bytes(self._came[:length])
            del self._came[:length]
            return taken

    def _write(self, payload: bytes) -> None:
        for start in range(0, len(payload), LARGEST):
            self.connection.send("WRTE", self.number, self.other, payload[start : start + LARGEST])
            self.acknowledged.acquire()
            if self._ended.is_set():
                raise ConnectionError

    def _shell(self) -> None:
        head, _, command = self.service.partition(":")
        second = ",v2" in head or head.startswith("shell,v2")
        process = self.device.start(command)
        assert process.stdout
        output = b""
        while part := os.read(process.stdout.fileno(), 65536):
            output += part
            self._write(struct.pack("<BI", STDOUT, len(part)) + part if second else part.replace(b"\n", b"\r\n"))
        status = process.wait()
        self.device.outputs.append(output.decode())
        if second:
            self._write(struct.pack("<BIB", EXIT, 1, status & 255))

    def _sync(self) -> None:
        while True:
            kind, length = struct.unpack("<4sI", self._read(8))
            if kind == b"QUIT":
                return
            name = self._read(length).decode()
            {b"SEND": self._take, b"RECV": self._give, b"LIST": self._list}.get(kind, self._stat)(name, kind)

    def _stat(self, name: str, kind: bytes) -> None:
        try:
            found, error = os.stat(self.device.path(name)), 0
        except OSError as missing:
            found, error = os.stat_result([0] * 10), missing.errno or 1
        if kind == b"STAT":
            return self._write(struct.pack("<4sIII", kind, found.st_mode, found.st_size, int(found.st_mtime)))
        fields = (found.st_dev, found.st_ino, found.st_mode, found.st_nlink, 2000, 2000, found.st_size)
        self._write(struct.pack("<4sIQQIIIIQqqq", kind, error, *fields, *(int(found.st_mtime),) * 3))

    def _take(self, named: str, _: bytes) -> None:
        name, _, mode = named.rpartition(",")
        content, failure = bytearray(), ""
        while True:
            kind, length = struct.unpack("<4sI", self._read(8))
            if kind == b"DONE":
                break
            content += self._read(length)
            if self.device.fault(f"data:{name}") == "vanish":
                return self.device.vanish()
            if len(content) > self.device.room:
                failure = "write failed: No space left on device"
        if failure:
            return self._fail(failure)
        try:
            target = self.device.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(int(mode) & 0o777)
        except OSError as error:
            return self._fail(f"couldn't create file: {error.strerror}")
        self.device.room -= len(content)
        self._write(struct.pack("<4sI", b"OKAY", 0))

    def _give(self, name: str, _: bytes) -> None:
        try:
            content = self.device.path(name).read_bytes()
        except OSError as error:
            return self._fail(f"open failed: {error.strerror}")
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            self._write(struct.pack("<4sI", b"DATA", len(part)) + part)
        self._write(struct.pack("<4sI", b"DONE", 0))

    def _list(self, name: str, _: bytes) -> None:
        folder = self.device.path(name)
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            found, called = file.stat(), file.name.encode()
            candidate = struct.pack("<4sIIII", b"DENT", found.st_mode, found.st_size, int(found.st_mtime), len(called))
            self._write(candidate + called)
        self._write(struct.pack("<4sIIII", b"DONE", 0, 0, 0, 0))

    def _fail(self, why: str) -> None:
        self._write(struct.pack("<4sI", b"FAIL", len(why)) + why.encode())
