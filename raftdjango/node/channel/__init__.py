"""The way from this machine's workers: framed protobuf over a Unix socket."""
