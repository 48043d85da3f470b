"""What tests share: nodes, servers, sheets, sources. No test lives here, and no test module imports another."""
