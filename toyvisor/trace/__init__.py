"""The ground everybody stands on: the event stream and the ledger of exits and copies."""
