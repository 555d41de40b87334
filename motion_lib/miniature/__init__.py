"""The miniature: a rendered world of moving figures and a tiny CLIP, in the roles of the real data and weights."""
