from mixproof.api.face import *
