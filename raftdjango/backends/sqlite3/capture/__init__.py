"""What a transaction changed: noted by triggers, guarded, told as operations."""
