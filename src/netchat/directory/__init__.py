"""Who is where: the rules, their stores, and both sides of the HTTP that speaks of them."""
