"""What the simulator attacks, and what it demands; off is what the program can't do yet."""

ON = {
    # faults
    "wiped": False,
    "lists": False,
    # what liars do
    "claims": False,
    "receipts": False,
    # what must hold
    "disputes end": False,
    "final can spend": True,
    "blank is silent": False,
    "states equal": True,
}
