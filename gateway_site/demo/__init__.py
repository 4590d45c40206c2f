"""`manage.py demo` (make run): the gateway and its example services, ready to try, in one process group."""
