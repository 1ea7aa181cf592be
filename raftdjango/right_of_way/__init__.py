"""Who goes first at the local database's write lock."""
