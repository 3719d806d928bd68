"""The experiments of Paulus, Maddison & Krause (2021): their models, data and estimators."""
