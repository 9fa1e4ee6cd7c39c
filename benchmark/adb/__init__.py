"""Files timed on a phone, which is reached by adb. Tested against a loopback device that speaks adb, not on a phone."""
