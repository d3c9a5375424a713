"""The schema: numbered migrations, their layout on one server or many, and drift from them."""
