"""A kitchen counter with a Franka arm and an Allegro hand: reach, grasp, place."""
