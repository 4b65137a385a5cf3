"""The stores that come with xqute; the contract is `xqute.store`."""
