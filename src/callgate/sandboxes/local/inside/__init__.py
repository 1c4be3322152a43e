"""What runs inside the fork server and its guests.

The modules here are shipped as text (`callgate.sandboxes.bundle`) and never imported by the host. One file per
mechanism of the kernel; `launch` and `server` are the two programs that use them.
"""
