"""What people say: ratings, the page they answer on, the studies."""
