"""Models as files: OpenAI's and Hugging Face's layouts, read and written with NumPy alone, and OpenAI's, fetched."""
