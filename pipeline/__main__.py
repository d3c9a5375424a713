"""`python -m pipeline …` is `andon …`: how the supervisor starts the stages."""

from pipeline.cli import main

if __name__ == "__main__":
    main()
