"""Files over HTTP that survive interruptions, and archives that cannot harm; knows no challenge."""
