"""What `trocar doctor` looks at."""
