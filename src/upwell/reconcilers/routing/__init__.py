"""The routing table: Services, Routes and ready instances to the router."""
