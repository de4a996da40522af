"""What is said of a film's shots: captions, camera attributes, dialogue, roles and scores, from replaceable parts."""
