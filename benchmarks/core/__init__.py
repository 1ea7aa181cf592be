"""The core alone: no network, no Django; a disk only where the log on disk is what is measured."""
