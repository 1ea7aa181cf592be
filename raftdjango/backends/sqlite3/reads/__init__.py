"""What a transaction has read: how fresh, whether it still holds."""
