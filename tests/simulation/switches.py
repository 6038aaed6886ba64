"""What the simulator attacks, and what it demands; off is what the program can't do yet."""

ON = {
    # faults
    "wiped": True,
    "lists": True,
    # what must hold
    "disputes end": True,
    "final can spend": True,
    "blank is silent": True,
    "states equal": True,
}
