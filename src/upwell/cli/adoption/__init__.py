"""Commands that take services over: one image (`add`), and what runs on this machine (`adopt`)."""
