"""The HTML pages with which Yahoo answers what it does not want to answer."""

CONSENT_PAGE = """<!DOCTYPE html>
<html lang="en-GB">
<head><meta charset="utf-8"><title>Yahoo is part of the Yahoo family of brands</title></head>
<body>
<form method="post" class="consent-form" action="https://consent.yahoo.com/v2/collectConsent?sessionId=replay">
<input type="hidden" name="csrfToken" value="replay">
<input type="hidden" name="sessionId" value="replay">
<h1>Before you continue</h1>
<p>We, Yahoo, are part of the Yahoo family of brands. When you use our sites and apps, we use cookies.</p>
<button type="submit" name="agree" value="agree">Accept all</button>
<button type="submit" name="reject" value="reject">Reject all</button>
</form>
</body>
</html>
"""

UNAVAILABLE_PAGE = (
    "<html><head><title>503 Service Unavailable</title></head>"
    "<body><h1>Service Unavailable</h1></body></html>"
)


def html_crumb() -> str:
    """A page of 60 kB, as it comes in place of a crumb."""
    style = "".join(f".c{n}{{margin:0;padding:{n % 9}px}}\n" for n in range(2400))
    head = f'<!DOCTYPE html>\n<html lang="en-us"><head><title>Yahoo</title><style>\n{style}'
    return head[:59_900].ljust(59_900) + "</style></head><body><p>Will be right back...</p></body></html>\n"
