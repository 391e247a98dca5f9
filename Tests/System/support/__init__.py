"""What the system tests stand on: real servers, real clients, nothing of the daemon's own code."""
