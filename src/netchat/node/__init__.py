"""One node owns a profile: it joins the rooms below, and is what faces drive through ``api``."""
