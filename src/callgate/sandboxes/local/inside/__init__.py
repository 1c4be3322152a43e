"""What runs inside the fork server and its guests.

The modules here are shipped as text (`callgate.sandboxes.bundle`); the host imports the table of `syscalls`, which is
data, and nothing else. One file per mechanism of the kernel; `launch` and `server` are the two programs that use them.
"""
