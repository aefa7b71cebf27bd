"""White-box: an attacker who has the victim."""
