"""Totals of what was sold, by product: a function that needs pandas."""

import pandas


def handler(event):
    sales = pandas.DataFrame(event["sales"])
    sales["total"] = sales["price"] * sales["count"]
    return sales.groupby("product")["total"].sum().to_dict()
