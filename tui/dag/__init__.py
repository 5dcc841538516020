"""Drawing and walking a DAG of tasks: pure; knows neither Textual nor the contract. See DESIGN.md."""
