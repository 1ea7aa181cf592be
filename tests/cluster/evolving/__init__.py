"""An application with a history: its migrations do what real ones do."""
