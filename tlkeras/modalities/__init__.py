"""What an input is: how it is read, stored, sent by a client, and described."""
