"""What the simulator attacks, and what it demands; off is what the program can't do yet."""

ON = {
    # faults
    "wiped": True,
    "lists": False,
    # what liars do
    "claims": False,
    "receipts": False,
    # what must hold
    "disputes end": True,
    "final can spend": True,
    "blank is silent": False,
    "states equal": True,
}
