"""For whoever rolls out updates: may this one go on in this ring?"""
