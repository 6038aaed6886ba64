"""What all tests need of the process that they run in."""

import signal

# Whoever starts the suite in the background of a shell script starts it with Ctrl-C ignored, and
# so are then all the servers and wallets that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
