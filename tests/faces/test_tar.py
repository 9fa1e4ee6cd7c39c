"""Tar files, written here with Python's tarfile and then bent."""

import io
import tarfile
import time

import pytest

from pocketface.faces.tar import Member, members

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def tar_of(files, form="pax", **fields):
    """The bytes of a tar that holds (name, bytes)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=FORMATS[form]) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def listed(tar):
    return list(members(io.BytesIO(tar), "x.tar"))


def header(name=b"0.png", kind=b"0", size=b"00000000003\0", checksum=None):
    """One header of 512 bytes, its checksum right unless told otherwise."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = size
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block) if checksum is None else checksum
    return bytes(block)


def padded(content):
    return content + bytes(-len(content) % 512)


@pytest.mark.parametrize("form", FORMATS)
def test_members_lie_where_tarfile_finds_them(form):
    files = [("a.jpg", b"abc"), ("folder/b.jpg", b""), ("c.jpg", bytes(512)), ("d.jpg", bytes(513)), ("e.jpg", b"e")]
    tar = tar_of(files, form)
    assert listed(tar) == [
        Member("a.jpg", 512, 3),
        Member("folder/b.jpg", 1536, 0),
        Member("c.jpg", 2048, 512),
        Member("d.jpg", 3072, 513),
        Member("e.jpg", 4608, 1),
    ]
    with tarfile.open(fileobj=io.BytesIO(tar)) as oracle:
        assert [(each.name, each.offset, each.size) for each in listed(tar)] == [
            (each.name, each.offset_data, each.size) for each in oracle
        ]


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("ustar", "people/" * 20 + "0.jpg"),
        ("gnu", "people/" * 40 + "0.jpg"),
        ("pax", "people/" * 40 + "0.jpg"),
        ("pax", "Bjørk_Guðmundsdóttir/0.jpg"),
        ("gnu", "Bjørk_Guðmundsdóttir/0.jpg"),
    ],
)
def test_long_and_foreign_names_are_read(form, name):
    tar = tar_of([(name, b"abc"), ("1.jpg", b"d")], form, mtime=time.time())
    with tarfile.open(fileobj=io.BytesIO(tar)) as oracle:
        expected = [Member(each.name, each.offset_data, each.size) for each in oracle]
    assert listed(tar) == expected
    assert [each.name for each in expected] == [name, "1.jpg"]


def test_a_size_in_pax_records_counts():
    body = padded(b"12 size=600\n")
    tar = header(kind=b"x", size=b"00000000014\0") + body + header(size=b"00000000000\0") + bytes(1024)
    assert listed(tar + header(b"1.png") + bytes(512)) == [Member("0.png", 1536, 600), Member("1.png", 3072, 3)]


def test_a_binary_size_counts():
    size = b"\x80" + (700).to_bytes(11, "big")
    assert listed(header(size=size) + bytes(1024)) == [Member("0.png", 512, 700)]


def test_a_tar_may_end_without_its_two_empty_blocks():
    assert listed(header() + padded(b"abc")) == [Member("0.png", 512, 3)]
    assert listed(b"") == []


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_what_is_no_file_is_passed_over_and_has_no_bytes(kind):
    tar = header(b"0.png", kind, b"77777777777\0") + header(b"1.png") + padded(b"abc")
    assert listed(tar) == [Member("1.png", 1024, 3)]


def test_kinds_that_nobody_knows_are_passed_over_with_their_bytes():
    tar = header(b"0.png", b"Z") + padded(b"abc") + header(b"1.png") + padded(b"abc")
    assert listed(tar) == [Member("1.png", 1536, 3)]


def test_a_sparse_file_is_refused():
    with pytest.raises(ValueError, match=r"x\.tar is no plain tar at byte 0, it holds a sparse or continued file"):
        listed(header(kind=b"S") + padded(b"abc"))
    record = b"22 GNU.sparse.major=1\n"
    with pytest.raises(ValueError, match="byte 1024, it holds a sparse or continued file"):
        listed(header(kind=b"x", size=b"00000000026\0") + padded(record) + header() + padded(b"abc"))


@pytest.mark.parametrize(
    "size",
    [
        b"00000001001\0",  # 513 of 512 bytes
        b"77777777777\0",
        b"\x80" + b"\xff" * 11,
        b"\xff" + b"\xff" * 11,  # -1, which tarfile follows back
        b"\xff" * 10 + b"\xfe\x00",  # -512: the header itself, again and again
    ],
)
def test_a_size_beyond_the_end_or_below_zero_is_refused(size):
    with pytest.raises(ValueError, match="at byte 0, the file is cut off"):
        listed(header(size=size) + bytes(512))


@pytest.mark.parametrize("size", [b"-0000000001\0", b"0x10\0\0\0\0\0\0\0\0", b"00000000_01\0", b"00000000008\0"])
def test_a_size_that_is_no_octal_number_is_refused(size):
    with pytest.raises(ValueError, match="at byte 0, a number is malformed"):
        listed(header(size=size) + padded(b"abc"))


@pytest.mark.parametrize("value", [b"-512", b"1e3", b"99999"])
def test_a_size_in_pax_records_that_is_none_is_refused(value):
    record = b"size=" + value + b"\n"
    body = b"%d %s" % (len(record) + 3, record)
    tar = header(kind=b"x", size=b"%011o\0" % len(body)) + padded(body) + header() + padded(b"abc")
    with pytest.raises(ValueError, match="no plain tar at byte 1024"):
        listed(tar)


@pytest.mark.parametrize("body", [b"size=3\n", b"99 size=3\n", b"0 size=3\n", b"-9 size=3\n", b"\0" * 12, b"9" * 12])
def test_pax_records_that_are_none_are_refused(body):
    with pytest.raises(ValueError, match="a pax record is malformed"):
        listed(header(kind=b"x", size=b"%011o\0" % len(body)) + padded(body) + header() + padded(b"abc"))


def test_a_header_of_headers_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="a header has 70000 bytes, more than 65536"):
        listed(header(kind=b"L", size=b"%011o\0" % 70_000) + bytes(70_144))


def test_what_is_no_tar_says_what_may_be():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.jpg"))
    for content in (packed.getvalue(), b"version https://git-lfs.github.com/spec/v1\n", b"\xff\xd8\xff" * 400):
        with pytest.raises(ValueError, match=r"x\.tar is no plain tar at byte 0, .*: is it compressed\?"):
            listed(content)


def test_a_tar_that_is_cut_off_within_a_member_is_refused():
    tar = tar_of([("0.jpg", bytes(700)), ("1.jpg", bytes(700))], "ustar")  # headers at 0 and 1536, of 512 bytes
    for end in range(1, 3072):
        if 1212 <= end <= 1536 or 2748 <= end:  # between members nothing tells that there was more
            assert len(listed(tar[:end])) == (1 if end <= 1536 else 2)
        else:
            with pytest.raises(ValueError, match=r"the file is cut off|the checksum is wrong"):
                listed(tar[:end])


def test_a_wrong_checksum_is_refused():
    with pytest.raises(ValueError, match="byte 1024, the checksum is wrong"):
        listed(header() + padded(b"abc") + header(checksum=b"000000\0 ") + padded(b"abc"))


def test_bent_bytes_end_in_members_or_in_a_value_error():
    tar = bytearray(tar_of([("people/" * 20 + "0.jpg", b"abc"), ("1.jpg", b"d")], mtime=1.5))
    for place in range(0, len(tar), 7):
        for value in (0, 0x80, 0xFF, ord("9")):
            bent = tar.copy()
            bent[place] = value
            try:
                found = listed(bytes(bent))
            except ValueError:
                continue
            assert all(0 <= each.offset and each.offset + each.size <= len(tar) for each in found)
