"""The measurements behind ``scripts/bench``: real servers, real sockets, real disks.

Machines differ and wander, so each figure stands beside a floor of the same run: one signature
check, one synced write, a bare echo.
"""
