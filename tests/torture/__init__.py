"""``make torture``: what the service does under faults, overload, bad input and strangers, measured from outside."""
