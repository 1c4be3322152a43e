"""The canary: what a fresh guest tries in order to break each promise of the jail.

Shipped as text and run as the first program of a fork server; the host imports it only for the names of its attempts.
"""
