"""The Allegro hand, palm up, turning a cube."""
