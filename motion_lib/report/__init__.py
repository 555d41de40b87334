"""Tables, claims, figures and the page that collects them."""
