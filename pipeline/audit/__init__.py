"""`andon audit`: whether what was ordered, answered and said is all there."""
