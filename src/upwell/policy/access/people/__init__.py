"""People behind what is asked for: whose eyes they are, and who has asked; pure."""
