"""What a payer's browser sees of a payment or of the storing of his card, at `/pay/<token>`.

Whoever has the unguessable token may look; nobody can change anything here. Gateways send the browser to `/pay/<token>/return`
and `/cancel` with values of their own in the query. Those are never read: anybody could have typed them. What a page says is
what the gateway answered when the hub asked.
"""
