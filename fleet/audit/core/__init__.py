"""What all audits are made of: members, images, adversarial sets, counting, checks, results."""
