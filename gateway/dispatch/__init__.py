"""Which worker runs which job, and when. Knows neither HTTP nor the tunnel: both meet here."""
