"""Image policies at work: finds the signatures of images, and judges them at each point."""
