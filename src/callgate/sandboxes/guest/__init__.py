"""What runs inside a sandbox beside the program: standard library only, shipped as text, never imported by the host."""
