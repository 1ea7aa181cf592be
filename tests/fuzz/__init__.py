"""Every decoder on arbitrary and on damaged bytes: a clean error, little memory, never a hang."""
