"""A collection as one page of HTML that needs no network: `write.write_report`."""
