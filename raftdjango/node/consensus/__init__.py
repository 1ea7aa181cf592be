"""The loop around the core, and the threads that write its log and apply its entries."""
